"""Q-HAP: the backlog of long requests moves units between the Short and the Long group."""
