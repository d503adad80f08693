"""The plan, its rules, what follows from it, and the command line that shows it; no cluster, no Pulumi."""
