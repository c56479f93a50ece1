"""`system/...`: whether the server is there, and whom it sees."""

from panda_server.web.calls import Answer, Context, call, ok


@call("system/is_alive", "GET", secure=False)
def is_alive(at: Context) -> Answer:
    """Yes."""
    del at
    return ok()


@call("system/get_user_attributes", "GET")
def get_user_attributes(at: Context) -> Answer:
    """What the server thinks of the caller, twice: as lines and as data."""
    assert at.caller is not None
    raw, clean, production = at.caller.raw_dn, at.caller.name, at.caller.production
    fqans = ["/Rubin/Role=production"] if production else []
    lines = [
        f"User DN (raw): {raw}",
        f"User DN (bare): {raw}",
        f"User DN (clean): {clean}",
        "Email address: None",
        f"FQANs: {fqans}",
        f"Production user: {production}",
        "Production working groups: []",
        "Primary production working group: None",
    ]
    data = {
        "user_dn_raw": raw,
        "user_dn_clean": clean,
        "fqans": fqans,
        "is_production_user": production,
        "production_working_groups": [],
        "primary_working_group": None,
    }
    return ok(data, "\n".join(lines) + "\n")
