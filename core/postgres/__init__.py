"""The lab's database on Postgres, behind the face of `core.database`.

Locks, in the order in which a transaction may take them, so that no two wait for each other in a
circle: the lock of all structural writes, rows of pools, rows of leases, rows of issues, the lock
of the numbers. A write that is not structural locks one row of each kind at most, and nothing
after the numbers.

psycopg and SQLAlchemy are loaded by the functions that need them, never for a lab on SQLite.
"""
