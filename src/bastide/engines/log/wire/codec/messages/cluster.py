"""The cluster: what it speaks, who is in it, which topics it has."""

from bastide.engines.log.wire.codec.api import Api

API_VERSIONS = Api(
    key=18,
    name="api_versions",
    version_min=0,
    version_max=3,
    flexible_from=3,
    request="""
        client_software_name        string  3+
        client_software_version     string  3+
    """,
    response="""
        error_code                  int16
        api_keys                    []
          api_key                   int16
          min_version               int16
          max_version               int16
        throttle_time_ms            int32   1+
        supported_features          []      3+      tag 0
          name                      string
          min_version               int16
          max_version               int16
        finalized_features_epoch    int64   3+      = -1 tag 1
        finalized_features          []      3+      tag 2
          name                      string
          max_version_level         int16
          min_version_level         int16
        zk_migration_ready          bool    3+      tag 3
    """,
)

# In version 0 a request for no topic asks for all; later, one whose `topics` are null. Version 9 is
# version 8 with compact lengths. It is not served: to ask for all topics librdkafka (2.16) writes a
# null array of 4 bytes there, where there should be 1, and all that is behind it is read askew.
METADATA = Api(
    key=3,
    name="metadata",
    version_min=0,
    version_max=8,
    flexible_from=9,
    request="""
        topics                          []          null 1+
          name                          string
        allow_auto_topic_creation       bool    4+  = true
        include_cluster_authorized_operations  bool  8+
        include_topic_authorized_operations    bool  8+
    """,
    response="""
        throttle_time_ms                int32   3+
        brokers                         []
          node_id                       int32
          host                          string
          port                          int32
          rack                          string  1+  null = null
        cluster_id                      string  2+  null = null
        controller_id                   int32   1+  = -1
        topics                          []
          error_code                    int16
          name                          string
          is_internal                   bool    1+
          partitions                    []
            error_code                  int16
            partition_index             int32
            leader_id                   int32
            leader_epoch                int32   7+  = -1
            replica_nodes               []int32
            isr_nodes                   []int32
            offline_replicas            []int32 5+
          topic_authorized_operations   int32   8+  = -2147483648
        cluster_authorized_operations   int32   8+  = -2147483648
    """,
)

DESCRIBE_CLUSTER = Api(
    key=60,
    name="describe_cluster",
    version_min=0,
    version_max=1,
    flexible_from=0,
    request="""
        include_cluster_authorized_operations  bool
        endpoint_type                   int8    1+  = 1
    """,
    response="""
        throttle_time_ms                int32
        error_code                      int16
        error_message                   string      null = null
        endpoint_type                   int8    1+  = 1
        cluster_id                      string
        controller_id                   int32       = -1
        brokers                         []
          broker_id                     int32
          host                          string
          port                          int32
          rack                          string      null = null
        cluster_authorized_operations   int32       = -2147483648
    """,
)

APIS = (API_VERSIONS, METADATA, DESCRIBE_CLUSTER)
