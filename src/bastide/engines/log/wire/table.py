"""Who answers what."""

from bastide.engines.log.wire import groups, records, topics, transactions
from bastide.engines.log.wire.desk import Handler

HANDLERS: dict[str, Handler] = {
    one.__name__: one
    for one in (
        *(topics.api_versions, topics.metadata, topics.describe_cluster),
        *(topics.create_topics, topics.delete_topics, topics.create_partitions),
        *(topics.describe_configs, topics.alter_configs, topics.incremental_alter_configs),
        *(records.produce, records.fetch, records.list_offsets, records.delete_records),
        records.offset_for_leader_epoch,
        *(groups.find_coordinator, groups.join_group, groups.sync_group, groups.heartbeat),
        *(groups.leave_group, groups.offset_commit, groups.offset_fetch, groups.offset_delete),
        *(groups.list_groups, groups.describe_groups, groups.delete_groups),
        *(transactions.init_producer_id, transactions.add_partitions_to_txn),
        *(transactions.add_offsets_to_txn, transactions.end_txn, transactions.txn_offset_commit),
        *(transactions.list_transactions, transactions.describe_transactions),
        transactions.describe_producers,
    )
}
