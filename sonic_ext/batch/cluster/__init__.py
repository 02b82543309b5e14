"""A batch on the computers of a Ray cluster.

sealing      what travels is encrypted, so that whatever Ray writes to a disk says nothing
fitness      whether a computer makes the same videos as this one: version, weights, clock
drawer       what each worker of the cluster runs: no Ray in it
connection   a cluster that runs, or one of this computer alone; who may listen
workers      the workers: started, lent, replaced
head         `Cluster`, in place of `batch.processes.Processes`
windows      `WindowCluster`: one video, its windows drawn by all of them; `window_drawer` is what each runs

The head claims the jobs, holds ledger, consents and keys, and takes in what the workers drew.
"""
