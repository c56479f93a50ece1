"""The report of a campaign: read from the API, summed up, and shown as one page or as JSON."""
