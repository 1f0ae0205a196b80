"""Tests: behaviour through the front door, properties for deciders, one contract suite for all implementations."""
