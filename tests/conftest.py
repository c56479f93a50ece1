"""What the tests of several rooms share lies beside this file: `history` and `daemon_process`."""
