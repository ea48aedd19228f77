"""Producers with a memory: their ids, their transactions, and seeing both."""

from bastide.engines.log.wire.codec.api import Api

INIT_PRODUCER_ID = Api(
    key=22,
    name="init_producer_id",
    version_min=0,
    version_max=4,
    flexible_from=2,
    request="""
        transactional_id            string          null
        transaction_timeout_ms      int32
        producer_id                 int64   3+      = -1
        producer_epoch              int16   3+      = -1
    """,
    response="""
        throttle_time_ms            int32
        error_code                  int16
        producer_id                 int64           = -1
        producer_epoch              int16
    """,
)

ADD_PARTITIONS_TO_TXN = Api(
    key=24,
    name="add_partitions_to_txn",
    version_min=0,
    version_max=3,
    flexible_from=3,
    request="""
        transactional_id            string
        producer_id                 int64
        producer_epoch              int16
        topics                      []
          name                      string
          partitions                []int32
    """,
    response="""
        throttle_time_ms            int32
        results_by_topic            []
          name                      string
          results_by_partition      []
            partition_index         int32
            partition_error_code    int16
    """,
)

_IN_TRANSACTION = """
        transactional_id            string
        producer_id                 int64
        producer_epoch              int16
"""
_DONE = """
        throttle_time_ms            int32
        error_code                  int16
"""

ADD_OFFSETS_TO_TXN = Api(
    key=25,
    name="add_offsets_to_txn",
    version_min=0,
    version_max=3,
    flexible_from=3,
    request=f"""{_IN_TRANSACTION}
        group_id                    string
    """,
    response=_DONE,
)

END_TXN = Api(
    key=26,
    name="end_txn",
    version_min=0,
    version_max=3,
    flexible_from=3,
    request=f"""{_IN_TRANSACTION}
        committed                   bool
    """,
    response=_DONE,
)

TXN_OFFSET_COMMIT = Api(
    key=28,
    name="txn_offset_commit",
    version_min=0,
    version_max=3,
    flexible_from=3,
    request="""
        transactional_id            string
        group_id                    string
        producer_id                 int64
        producer_epoch              int16
        generation_id               int32   3+      = -1
        member_id                   string  3+
        group_instance_id           string  3+      null = null
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            committed_offset        int64
            committed_leader_epoch  int32   2+      = -1
            committed_metadata      string          null
    """,
    response="""
        throttle_time_ms            int32
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            error_code              int16
    """,
)

DESCRIBE_PRODUCERS = Api(
    key=61,
    name="describe_producers",
    version_min=0,
    version_max=0,
    flexible_from=0,
    request="""
        topics                      []
          name                      string
          partition_indexes         []int32
    """,
    response="""
        throttle_time_ms            int32
        topics                      []
          name                      string
          partitions                []
            partition_index         int32
            error_code              int16
            error_message           string          null = null
            active_producers        []
              producer_id           int64
              producer_epoch        int32
              last_sequence         int32           = -1
              last_timestamp        int64           = -1
              coordinator_epoch     int32
              current_txn_start_offset  int64       = -1
    """,
)

DESCRIBE_TRANSACTIONS = Api(
    key=65,
    name="describe_transactions",
    version_min=0,
    version_max=0,
    flexible_from=0,
    request="""
        transactional_ids           []string
    """,
    response="""
        throttle_time_ms            int32
        transaction_states          []
          error_code                int16
          transactional_id          string
          transaction_state         string
          transaction_timeout_ms    int32
          transaction_start_time_ms int64
          producer_id               int64
          producer_epoch            int16
          topics                    []
            topic                   string
            partitions              []int32
    """,
)

LIST_TRANSACTIONS = Api(
    key=66,
    name="list_transactions",
    version_min=0,
    version_max=0,
    flexible_from=0,
    request="""
        state_filters               []string
        producer_id_filters         []int64
    """,
    response="""
        throttle_time_ms            int32
        error_code                  int16
        unknown_state_filters       []string
        transaction_states          []
          transactional_id          string
          producer_id               int64
          transaction_state         string
    """,
)

APIS = (
    *(INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN, TXN_OFFSET_COMMIT),
    *(DESCRIBE_PRODUCERS, DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS),
)
