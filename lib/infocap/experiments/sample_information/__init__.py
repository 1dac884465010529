"""Part 2: how much does one example tell the network that no other example does?"""
