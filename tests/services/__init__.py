"""Services that tests start for themselves: processes that are cleared up whatever happens, PostgreSQL."""
