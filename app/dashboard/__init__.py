"""The dashboard's parts; all they compute is a call into ``analysis``."""
