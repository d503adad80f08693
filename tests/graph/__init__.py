"""The components under pulumi's mocks: parents, providers, order, secrets, and what each resource says."""
