"""The lab: the real scripts and the real decision, on virtual time, with the simulator's engine."""
