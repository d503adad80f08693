"""What a mesh IS: the plan, the steps that act on clusters, the command line. It creates no Pulumi resource."""
