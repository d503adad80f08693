"""The tests; each file opens with the contract that it guards."""
