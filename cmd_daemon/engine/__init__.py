"""The shell around the kernel: inbox, loop, writer, lanes to the outside, timers, recovery."""
