"""`chatq verify`: the fault ledger. Thousands of jobs while everything that can fail does, and then the reckoning.

    plan.py          which jobs, which faults, when: all of it from the seed
    faults.py        the table of faults
    installation.py  what they strike: server, workers, producers, simulator
    producer.py      a process that enqueues its part of the jobs, and notes what was acknowledged
    wrong_clock.py   a worker whose clock is off
    witness.py       hears every announcement, and reads each record when it is announced and again at the end
    evidence.py      what is known at the end
    reckoning.py     the ledger made of it
    printing.py      the ledger for people and for machines
    run.py           one run from the start to the ledger

A caller like any other: like the demo it uses chatq, and the simulator knows neither.
"""
