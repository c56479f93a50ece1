"""Notices to people: Slack, Mattermost, any webhook, and mail."""
