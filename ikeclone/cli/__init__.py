"""The command line: speaks to a daemon through its control socket, and starts one."""
