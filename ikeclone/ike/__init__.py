"""The IKEv2 state machine, sans-IO: time and randomness are parameters, datagrams and actions are results."""
