"""PanDA runs the work: the driver `panda`, for process jobs as BPS workflows and scripts as tasks."""
