"""Groups: finding who coordinates one, entering and leaving it, seeing what it is."""

from bastide.engines.log.wire.codec.api import Api

# Version 4 asks for many keys at once: `coordinator_keys`, answered by `coordinators`.
FIND_COORDINATOR = Api(
    key=10,
    name="find_coordinator",
    version_min=0,
    version_max=4,
    flexible_from=3,
    request="""
        key                         string  0-3
        key_type                    int8    1+
        coordinator_keys            []string 4+
    """,
    response="""
        throttle_time_ms            int32   1+
        error_code                  int16   0-3
        error_message               string  1-3     null
        node_id                     int32   0-3
        host                        string  0-3
        port                        int32   0-3
        coordinators                []      4+
          key                       string
          node_id                   int32
          host                      string
          port                      int32
          error_code                int16
          error_message             string          null
    """,
)

JOIN_GROUP = Api(
    key=11,
    name="join_group",
    version_min=0,
    version_max=9,
    flexible_from=6,
    request="""
        group_id                    string
        session_timeout_ms          int32
        rebalance_timeout_ms        int32   1+      = -1
        member_id                   string
        group_instance_id           string  5+      null = null
        protocol_type               string
        protocols                   []
          name                      string
          metadata                  bytes
        reason                      string  8+      null = null
    """,
    response="""
        throttle_time_ms            int32   2+
        error_code                  int16
        generation_id               int32           = -1
        protocol_type               string  7+      null = null
        protocol_name               string          null 7+
        leader                      string
        skip_assignment             bool    9+
        member_id                   string
        members                     []
          member_id                 string
          group_instance_id         string  5+      null = null
          metadata                  bytes
    """,
)

HEARTBEAT = Api(
    key=12,
    name="heartbeat",
    version_min=0,
    version_max=4,
    flexible_from=4,
    request="""
        group_id                    string
        generation_id               int32
        member_id                   string
        group_instance_id           string  3+      null = null
    """,
    response="""
        throttle_time_ms            int32   1+
        error_code                  int16
    """,
)

LEAVE_GROUP = Api(
    key=13,
    name="leave_group",
    version_min=0,
    version_max=5,
    flexible_from=4,
    request="""
        group_id                    string
        member_id                   string  0-2
        members                     []      3+
          member_id                 string
          group_instance_id         string          null = null
          reason                    string  5+      null = null
    """,
    response="""
        throttle_time_ms            int32   1+
        error_code                  int16
        members                     []      3+
          member_id                 string
          group_instance_id         string          null
          error_code                int16
    """,
)

SYNC_GROUP = Api(
    key=14,
    name="sync_group",
    version_min=0,
    version_max=5,
    flexible_from=4,
    request="""
        group_id                    string
        generation_id               int32
        member_id                   string
        group_instance_id           string  3+      null = null
        protocol_type               string  5+      null = null
        protocol_name               string  5+      null = null
        assignments                 []
          member_id                 string
          assignment                bytes
    """,
    response="""
        throttle_time_ms            int32   1+
        error_code                  int16
        protocol_type               string  5+      null = null
        protocol_name               string  5+      null = null
        assignment                  bytes
    """,
)

DESCRIBE_GROUPS = Api(
    key=15,
    name="describe_groups",
    version_min=0,
    version_max=5,
    flexible_from=5,
    request="""
        groups                          []string
        include_authorized_operations   bool    3+
    """,
    response="""
        throttle_time_ms            int32   1+
        groups                      []
          error_code                int16
          group_id                  string
          group_state               string
          protocol_type             string
          protocol_data             string
          members                   []
            member_id               string
            group_instance_id       string  4+      null = null
            client_id               string
            client_host             string
            member_metadata         bytes
            member_assignment       bytes
          authorized_operations     int32   3+      = -2147483648
    """,
)

LIST_GROUPS = Api(
    key=16,
    name="list_groups",
    version_min=0,
    version_max=4,
    flexible_from=3,
    request="""
        states_filter               []string 4+
    """,
    response="""
        throttle_time_ms            int32   1+
        error_code                  int16
        groups                      []
          group_id                  string
          protocol_type             string
          group_state               string  4+
    """,
)

DELETE_GROUPS = Api(
    key=42,
    name="delete_groups",
    version_min=0,
    version_max=2,
    flexible_from=2,
    request="""
        groups_names                []string
    """,
    response="""
        throttle_time_ms            int32
        results                     []
          group_id                  string
          error_code                int16
    """,
)

APIS = (
    *(FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP),
    *(DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS),
)
