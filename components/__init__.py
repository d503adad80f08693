"""What Pulumi creates: one ComponentResource per file, each taking a checked plan."""
