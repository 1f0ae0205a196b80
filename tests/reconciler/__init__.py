"""The reconciler: its pure planner by properties and scenarios, its shell on a log in memory."""
