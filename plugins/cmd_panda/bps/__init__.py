"""Process jobs as BPS workflows, which iDDS turns into PanDA tasks."""
