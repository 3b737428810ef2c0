"""Run folders: what a run was made from, what it wrote, and who may write there."""
