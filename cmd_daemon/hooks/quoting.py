"""What an outside system says, fit to be told."""

from collections.abc import Mapping


def quoted(text: str, headers: Mapping[str, str]) -> str:
    """A server's words without the credential of the request (`headers`) that they answer: some servers
    and proxies tell back what they were sent, and words for people end in logs and in the history."""
    secret = headers.get("Authorization", "").rpartition(" ")[2]
    return text.replace(secret, "***") if secret else text
