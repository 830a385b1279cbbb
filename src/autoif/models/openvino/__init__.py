"""The embedded engine: weights run in a process of their own by OpenVINO GenAI."""
