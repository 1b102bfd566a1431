"""Links and clicks in Cassandra. One keyspace; the tables, and the query each serves, are in `cassandra_schema.cql`.

cluster = CassandraCluster("127.0.0.1:9042", "url_shortener", consistency="local_quorum", speculative_ms=0)
links, clicks = CassandraLinkStore(cluster), CassandraClickStore(cluster, clock_us)
...
await cluster.close()          # the stores' own `close` does nothing: they share the cluster
"""

from designs.url_shortener.backends.cassandra_clicks import CassandraClickStore
from designs.url_shortener.backends.cassandra_cluster import CassandraCluster, drop_keyspace
from designs.url_shortener.backends.cassandra_links import CassandraLinkStore
from designs.url_shortener.backends.cassandra_schema import NewerSchema

__all__ = ["CassandraClickStore", "CassandraCluster", "CassandraLinkStore", "NewerSchema", "drop_keyspace"]
