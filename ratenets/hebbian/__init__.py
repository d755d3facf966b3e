"""Local learning rules side by side on small images: one network, every rule behind one interface, and what tells
them apart.

The experiments are those of Neuromatch's project "Microlearning: credit assignment and local learning rules".
"""
