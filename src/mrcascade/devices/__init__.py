"""Devices: their facts, their failures and the precision that they compute in."""
