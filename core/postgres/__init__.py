"""The lab's database on Postgres, behind the face of `core.database`.

Locks, in the order in which a transaction may take them, so that no two wait for each other in a
circle: the lock of all structural writes, rows of leases, rows of issues, the lock of the numbers.
A transaction that takes row locks alone touches one issue, and takes no more after the numbers.

psycopg and SQLAlchemy are loaded by the functions that need them, never for a lab on SQLite.
"""
