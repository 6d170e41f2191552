"""Which addresses may be reached: every way to write one that is not public is seen through."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import networks_of
from dataflare_broker.http.reach import may_reach, plain

PRIVATE = """
127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 169.254.1.1 100.64.0.1
100.100.100.200 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255 168.63.129.16
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2002:808:808:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 fc00::1
fd00:ec2::254 fe80::1 fe80::5efe:a00:1 2600::5efe:10.0.0.1 2600::200:5efe:10.0.0.1 ff02::1 100::1 3fff::1 5f00::1
""".split()
PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_not_reached(address):
    assert not may_reach(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_reached(address):
    assert may_reach(ipaddress.ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_however_it_is_written(address):
    judged = may_reach(address, ())
    for written in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert may_reach(ipaddress.IPv6Address(written), ()) is judged
    if not address.is_global or address.is_multicast:
        assert not judged


@given(st.ip_addresses(v=6))
def test_what_python_knows_to_be_local_is_never_reached(address):
    if not address.is_global or address.is_multicast:
        assert not may_reach(address, ()) or address in ipaddress.ip_network("64:ff9b::/96") or address.ipv4_mapped


@given(st.ip_addresses(), st.ip_addresses(), st.integers(1, 32))
def test_a_network_opens_itself_and_nothing_else(address, other, length):
    address, other = plain(address), plain(other)
    network = ipaddress.ip_network((address, length), strict=False)
    assert may_reach(address, [network])
    embedded = ipaddress.ip_address(int(other) & 0xFFFFFFFF)
    if all(each.version != network.version or each not in network for each in (other, embedded)):
        assert may_reach(other, [network]) is may_reach(other, ())


@pytest.mark.parametrize(
    "name", ["metadata.example", "mapped.example", "both.example", "nat64.example", "zone.example", "localhost"]
)
def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(world, name):
    world.names = {
        "metadata.example": ["169.254.169.254"],
        "mapped.example": ["::ffff:127.0.0.1"],
        "both.example": ["93.184.216.34", "10.0.0.1"],
        "nat64.example": ["64:ff9b::a9fe:a9fe"],
        "zone.example": ["fe80::1%eth0"],
        "localhost": ["127.0.0.1"],
    }
    with pytest.raises(PermissionDenied, match=r"permission\.address"):
        world.client({"networks": []}).get(f"http://{name}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1"])
def test_an_address_in_the_url_is_checked_too(world, host):
    with pytest.raises(PermissionDenied, match=r"permission\.address"):
        world.client({"networks": []}).get(f"http://{host}/")
    assert world.looked_up == []


def test_a_grants_network_that_is_none_is_told():
    with pytest.raises(ConfigError, match=r"permission\.networks"):
        networks_of(["10.0.0.0/99"])
