"""What an outside system says, fit to be told."""


def quoted(text: str, *secrets: str) -> str:
    """A server's words without the secrets it was sent (tokens, passwords, or whole `Authorization` headers):
    some servers and proxies tell back what they got, and words for people end in logs and in the history."""
    for secret in secrets:
        plain = secret.removeprefix("Bearer ").removeprefix("Basic ")
        if plain:
            text = text.replace(plain, "***")
    return text
