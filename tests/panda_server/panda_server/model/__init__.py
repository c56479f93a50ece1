"""What the server keeps: tasks, inputs, jobs, queues and the clock; no HTTP here."""
