"""Settings of topics and brokers."""

from bastide.engines.log.wire.codec.api import Api

DESCRIBE_CONFIGS = Api(
    key=32,
    name="describe_configs",
    version_min=1,
    version_max=4,
    flexible_from=4,
    request="""
        resources                   []
          resource_type             int8
          resource_name             string
          configuration_keys        []string        null
        include_synonyms            bool
        include_documentation       bool    3+
    """,
    response="""
        throttle_time_ms            int32
        results                     []
          error_code                int16
          error_message             string          null
          resource_type             int8
          resource_name             string
          configs                   []
            name                    string
            value                   string          null
            read_only               bool
            config_source           int8            = -1
            is_sensitive            bool
            synonyms                []
              name                  string
              value                 string          null
              source                int8
            config_type             int8    3+
            documentation           string  3+      null
    """,
)

_ALTERED = """
        throttle_time_ms            int32
        responses                   []
          error_code                int16
          error_message             string          null
          resource_type             int8
          resource_name             string
"""

ALTER_CONFIGS = Api(
    key=33,
    name="alter_configs",
    version_min=0,
    version_max=2,
    flexible_from=2,
    request="""
        resources                   []
          resource_type             int8
          resource_name             string
          configs                   []
            name                    string
            value                   string          null
        validate_only               bool
    """,
    response=_ALTERED,
)

INCREMENTAL_ALTER_CONFIGS = Api(
    key=44,
    name="incremental_alter_configs",
    version_min=0,
    version_max=1,
    flexible_from=1,
    request="""
        resources                   []
          resource_type             int8
          resource_name             string
          configs                   []
            name                    string
            config_operation        int8
            value                   string          null
        validate_only               bool
    """,
    response=_ALTERED,
)

APIS = (DESCRIBE_CONFIGS, ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS)
