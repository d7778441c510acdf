"""How fast this machine trains, evaluates, solves and builds: what `hrm bench` measures."""
