"""Where tables may go, and who may work off their jobs: the policy, and what follows from it."""
