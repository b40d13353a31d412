"""Results that verify themselves: records of runs, the leaderboard that is made of them, and their repetition."""
