"""Topics: making them, growing them, dropping them."""

from bastide.engines.log.wire.codec.api import Api

CREATE_TOPICS = Api(
    key=19,
    name="create_topics",
    version_min=2,
    version_max=7,
    flexible_from=5,
    request="""
        topics                      []
          name                      string
          num_partitions            int32
          replication_factor        int16
          assignments               []
            partition_index         int32
            broker_ids              []int32
          configs                   []
            name                    string
            value                   string          null
        timeout_ms                  int32           = 60000
        validate_only               bool
    """,
    response="""
        throttle_time_ms            int32
        topics                      []
          name                      string
          topic_id                  uuid    7+
          error_code                int16
          error_message             string          null
          topic_config_error_code   int16   5+      tag 0
          num_partitions            int32   5+      = -1
          replication_factor        int16   5+      = -1
          configs                   []      5+      null
            name                    string
            value                   string          null
            read_only               bool
            config_source           int8            = -1
            is_sensitive            bool
    """,
)

DELETE_TOPICS = Api(
    key=20,
    name="delete_topics",
    version_min=1,
    version_max=5,
    flexible_from=4,
    request="""
        topic_names                 []string
        timeout_ms                  int32
    """,
    response="""
        throttle_time_ms            int32
        responses                   []
          name                      string
          error_code                int16
          error_message             string  5+      null = null
    """,
)

CREATE_PARTITIONS = Api(
    key=37,
    name="create_partitions",
    version_min=0,
    version_max=3,
    flexible_from=2,
    request="""
        topics                      []
          name                      string
          count                     int32
          assignments               []              null
            broker_ids              []int32
        timeout_ms                  int32
        validate_only               bool
    """,
    response="""
        throttle_time_ms            int32
        results                     []
          name                      string
          error_code                int16
          error_message             string          null = null
    """,
)

APIS = (CREATE_TOPICS, DELETE_TOPICS, CREATE_PARTITIONS)
