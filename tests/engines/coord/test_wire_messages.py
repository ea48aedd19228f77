"""The table of messages, held against another project's, made by protoc from etcd's own files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.coord.core.protocol.messages import messages, methods

# They came with etcd 3.5 and later, or serve etcd's own cluster alone.
NEWER = {"DowngradeRequest", "DowngradeResponse"}
OWN = {"LeaseCheckpoint", "LeaseCheckpointRequest", "LeaseCheckpointResponse"}


def theirs():
    from aetcd.rpc import auth_pb2, kv_pb2, rpc_pb2

    found = {}
    for file in (kv_pb2, auth_pb2, rpc_pb2):
        found.update(file.DESCRIPTOR.message_types_by_name)
    return {name: found[name] for name in found if name not in NEWER | OWN}


def shape(descriptor):
    """All that decides what is on the wire."""
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
            field.enum_type and {v.name: v.number for v in field.enum_type.values},
            field.containing_oneof and field.containing_oneof.name,
        )
        for field in descriptor.fields
    }


def test_every_message_has_the_fields_that_etcd_gave_it():
    found = theirs()
    assert len(found) > 80
    for name, descriptor in found.items():
        ours = getattr(messages(), name).DESCRIPTOR
        assert ours.full_name == descriptor.full_name
        assert shape(ours) == shape(descriptor), name


def test_every_method_has_the_messages_that_etcd_gave_it():
    from aetcd.rpc import rpc_pb2

    for service in rpc_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            if method.name == "Downgrade":
                continue
            ours = methods()[f"/{service.full_name}/{method.name}"]
            assert ours.request.DESCRIPTOR.name == method.input_type.name
            assert ours.reply.DESCRIPTOR.name == method.output_type.name
            assert ours.takes_stream == method.client_streaming
            assert ours.gives_stream == method.server_streaming


numbers = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.binary(), st.binary(), numbers, st.booleans(), st.integers(0, 4))
def test_what_we_write_another_reads(key, end, number, flag, target):
    from aetcd.rpc import rpc_pb2

    ours = messages().RangeRequest(
        key=key, range_end=end, limit=number, serializable=flag, sort_target=target
    )
    read = rpc_pb2.RangeRequest.FromString(ours.SerializeToString())
    assert (read.key, read.range_end, read.limit, read.serializable, read.sort_target) == (
        *(key, end, number, flag, target),
    )
    assert messages().RangeRequest.FromString(read.SerializeToString()) == ours


@given(st.binary(), numbers, st.sampled_from(["version", "create_revision", "lease"]))
def test_of_a_choice_one_field_is_there(key, number, choice):
    from aetcd.rpc import rpc_pb2

    ours = messages().Compare(key=key, **{choice: number}, value=b"")
    assert ours.WhichOneof("target_union") == "value"
    ours = messages().Compare(key=key, **{choice: number})
    read = rpc_pb2.Compare.FromString(ours.SerializeToString())
    assert read.WhichOneof("target_union") == choice
    assert getattr(read, choice) == number


@pytest.mark.parametrize("name", ["LockRequest", "LeaderKey", "CampaignResponse"])
def test_locks_and_elections_have_packages_of_their_own(name):
    full = getattr(messages(), name).DESCRIPTOR.full_name
    assert full == ("v3lockpb." if "Lock" in name else "v3electionpb.") + name
