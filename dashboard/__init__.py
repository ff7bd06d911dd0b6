"""The page that shows a pool while it runs, and rq-dashboard on a picture of its jobs."""
