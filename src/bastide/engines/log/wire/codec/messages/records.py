"""Records: appending, reading, where in the log things are."""

from bastide.engines.log.wire.codec.api import Api

PRODUCE = Api(
    key=0,
    name="produce",
    version_min=3,
    version_max=9,
    flexible_from=9,
    request="""
        transactional_id            string          null = null
        acks                        int16
        timeout_ms                  int32
        topic_data                  []
          name                      string
          partition_data            []
            index                   int32
            records                 records         null
    """,
    response="""
        responses                   []
          name                      string
          partition_responses       []
            index                   int32
            error_code              int16
            base_offset             int64
            log_append_time_ms      int64           = -1
            log_start_offset        int64   5+      = -1
            record_errors           []      8+
              batch_index           int32
              batch_index_error_message  string     null = null
            error_message           string  8+      null = null
        throttle_time_ms            int32
    """,
)

FETCH = Api(
    key=1,
    name="fetch",
    version_min=4,
    version_max=12,
    flexible_from=12,
    request="""
        cluster_id                  string  12+     null = null tag 0
        replica_id                  int32           = -1
        max_wait_ms                 int32
        min_bytes                   int32
        max_bytes                   int32           = 2147483647
        isolation_level             int8
        session_id                  int32   7+
        session_epoch               int32   7+      = -1
        topics                      []
          topic                     string
          partitions                []
            partition               int32
            current_leader_epoch    int32   9+      = -1
            fetch_offset            int64
            last_fetched_epoch      int32   12+     = -1
            log_start_offset        int64   5+      = -1
            partition_max_bytes     int32
        forgotten_topics_data       []      7+
          topic                     string
          partitions                []int32
        rack_id                     string  11+
    """,
    response="""
        throttle_time_ms            int32
        error_code                  int16   7+
        session_id                  int32   7+
        responses                   []
          topic                     string
          partitions                []
            partition_index         int32
            error_code              int16
            high_watermark          int64
            last_stable_offset      int64           = -1
            log_start_offset        int64   5+      = -1
            diverging_epoch         {}      12+     tag 0
              epoch                 int32           = -1
              end_offset            int64           = -1
            current_leader          {}      12+     tag 1
              leader_id             int32           = -1
              leader_epoch          int32           = -1
            snapshot_id             {}      12+     tag 2
              end_offset            int64           = -1
              epoch                 int32           = -1
            aborted_transactions    []              null
              producer_id           int64
              first_offset          int64
            preferred_read_replica  int32   11+     = -1
            records                 records         null
    """,
)

LIST_OFFSETS = Api(
    key=2,
    name="list_offsets",
    version_min=1,
    version_max=7,
    flexible_from=6,
    request="""
        replica_id                  int32
        isolation_level             int8    2+
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            current_leader_epoch    int32   4+      = -1
            timestamp               int64
    """,
    response="""
        throttle_time_ms            int32   2+
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            error_code              int16
            timestamp               int64           = -1
            offset                  int64           = -1
            leader_epoch            int32   4+      = -1
    """,
)

DELETE_RECORDS = Api(
    key=21,
    name="delete_records",
    version_min=0,
    version_max=2,
    flexible_from=2,
    request="""
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            offset                  int64
        timeout_ms                  int32
    """,
    response="""
        throttle_time_ms            int32
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            low_watermark           int64
            error_code              int16
    """,
)

OFFSET_FOR_LEADER_EPOCH = Api(
    key=23,
    name="offset_for_leader_epoch",
    version_min=2,
    version_max=4,
    flexible_from=4,
    request="""
        replica_id                  int32   3+      = -2
        topics                      []
          topic                     string
          partitions                []
            partition               int32
            current_leader_epoch    int32           = -1
            leader_epoch            int32
    """,
    response="""
        throttle_time_ms            int32
        topics                      []
          topic                     string
          partitions                []
            error_code              int16
            partition               int32
            leader_epoch            int32           = -1
            end_offset              int64           = -1
    """,
)

APIS = (PRODUCE, FETCH, LIST_OFFSETS, DELETE_RECORDS, OFFSET_FOR_LEADER_EPOCH)
