from app.imports.difference import compare

ASSET = {
    "ip_address": "192.0.2.1",
    "os": None,
    "connection": {"port": 22, "host_key": "ssh-ed25519 AAAA"},
    "tags": {"role": "web", "group.old": True},
    "metadata": {"nested": {"a": 1, "b": 2}, "own": "kept"},
}


def test_new_changed_unchanged_and_not_in_file():
    drafts = {"new-01": {"os": "debian"}, "web-01": {"os": "debian"}, "web-02": {}}
    found = compare(drafts, {"web-01": ASSET, "web-02": ASSET, "spare-01": ASSET})
    assert found.as_json() == {
        "new": {"new-01": {"os": "debian"}},
        "changed": {"web-01": {"os": {"before": None, "after": "debian"}}},
        "unchanged": ["web-02"],
        "not_in_file": ["spare-01"],
    }


def test_objects_are_compared_member_by_member():
    draft = {
        "connection": {"port": 2222},
        "tags": {"role": "web", "spare": True},
        "metadata": {"nested": {"a": 1, "c": {"d": 3}}},
    }
    found = compare({"web-01": draft}, {"web-01": ASSET})
    assert found.changed["web-01"] == {
        "connection.port": {"before": 22, "after": 2222},
        "tags.spare": {"before": None, "after": True},
        "metadata.nested": {"before": {"a": 1, "b": 2}, "after": {"a": 1, "c": {"d": 3}}},
    }
    assert dict(found.patches()) == {
        "web-01": {
            "connection": {"port": 2222},
            "tags": {"spare": True},
            "metadata": {"nested": {"a": 1, "b": None, "c": {"d": 3}}},
        }
    }


def test_tags_of_the_file_that_it_has_no_more_are_taken_away():
    draft = {"tags": {"group.web": True}}
    found = compare({"web-01": draft}, {"web-01": ASSET}, "group.")
    assert found.changed["web-01"] == {
        "tags.group.web": {"before": None, "after": True},
        "tags.group.old": {"before": True, "after": None},
    }
    assert dict(found.patches())["web-01"] == {"tags": {"group.web": True, "group.old": None}}
    assert compare({"web-01": {}}, {"web-01": ASSET}).unchanged == ["web-01"]


def test_true_is_not_one():
    asset = ASSET | {"tags": {"spare": 1}}
    assert "web-01" in compare({"web-01": {"tags": {"spare": True}}}, {"web-01": asset}).changed
