"""What the tests of several rooms share lies beside this file: `history`, `daemon_process`,
`certificates`."""
