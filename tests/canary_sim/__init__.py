"""Rollouts in simulated time: how often a good release is rolled back, and how soon a bad one."""
