"""A profile that cannot be used says which key, what came and what is accepted."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infocap.experiments.profiles import Profile, load_profile
from infocap.study.profiles import ProfileError, _check, keys

PROFILES = {name: load_profile(name) for name in ("smoke", "quick", "full")}
KNOWN = set(keys(PROFILES["smoke"].model_dump()))


def test_all_profiles_have_the_same_keys():
    assert all(set(keys(profile.model_dump())) == KNOWN for profile in PROFILES.values())
    assert [profile.name for profile in PROFILES.values()] == list(PROFILES)


def test_a_setting_changes_its_key_only():
    changed = load_profile("smoke", ["noisy_labels.main.epochs=7", "noisy_labels.main.rates=[0.1, 0.5]"])
    main = PROFILES["smoke"].noisy_labels.main.model_copy(update={"epochs": 7, "rates": [0.1, 0.5]})
    assert changed == PROFILES["smoke"].model_copy(
        update={"noisy_labels": PROFILES["smoke"].noisy_labels.model_copy(update={"main": main})}
    )


@pytest.mark.parametrize("text", ["mnist", '"mnist"', "folder:/some where/x=y"])
def test_strings_need_no_quotes(text):
    assert load_profile("smoke", [f"noisy_labels.main.data={text}"]).noisy_labels.main.data == text.strip('"')


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "noisy_labels.main.epoch=3",
            "set: no key 'noisy_labels.main.epoch'; the nearest is 'noisy_labels.main.epochs'",
        ),
        ("qqq=3", "set: no key 'qqq'; the nearest is '"),
        ("name=mine", "set: no key 'name'; the nearest is '"),
        ("noisy_labels.main.epochs", "set: got 'noisy_labels.main.epochs'; accepted: key=value"),
        ("noisy_labels.main.epochs=0", "noisy_labels.main.epochs: got 0; input should be greater than or equal to 1"),
        ("noisy_labels.main.epochs=two", "noisy_labels.main.epochs: got 'two'; input should be a valid integer"),
        ("noisy_labels.main.epochs=true", "noisy_labels.main.epochs: got True; input should be a valid integer"),
        ("noisy_labels.main.epochs=", "noisy_labels.main.epochs: got ''; input should be a valid integer"),
        ("noisy_labels.main.augment=1", "noisy_labels.main.augment: got 1; input should be a valid boolean"),
        (
            "noisy_labels.main.rates=[1.5]",
            "noisy_labels.main.rates.0: got 1.5; input should be less than or equal to 1",
        ),
        ("noisy_labels.main.rates=[nan]", "noisy_labels.main.rates.0: got nan; input should be a finite number"),
        ("noisy_labels.main.network=vit", "noisy_labels.main.network: got 'vit'; input should be 'mlp', "),
        ("noisy_labels.main=3", "noisy_labels.main: got 3; input should be a valid dictionary"),
        ("noisy_labels.main.seeds=[]", "noisy_labels; main: the chapters draw this panel; sizes, rates, seeds and "),
        ("noisy_labels.main.rates=[0.3]", "noisy_labels; main: the claims read the rate 0.5, which rates must contain"),
        ("noisy_labels.main.network=cnn", "noisy_labels.main; dropout needs the network 'mlp', not 'cnn'"),
        (
            "noisy_labels.pair.data=mnist",
            "noisy_labels.pair; pair noise is defined for fashion-mnist and cifar10",
        ),
        ("device=tpu", "device: got 'tpu'; input should be 'cpu' or 'cuda'"),
        (
            "noisy_labels.main.methods=[{method='mae', bta=1}]",
            "noisy_labels.main.methods.0.bta: got 1; no such key; accepted: method, beta, ",
        ),
    ],
)
def test_refused_settings(setting, message):
    with pytest.raises(ProfileError) as caught:
        load_profile("smoke", [setting])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ProfileError, match="profile: no profile 'quik'; accepted: full, quick, smoke"):
        load_profile("quik")


@given(
    st.text(min_size=1).filter(lambda key: "=" not in key), st.sampled_from(["", "noisy_labels.", "noisy_labels.main."])
)
def test_random_keys_are_refused(key, prefix):
    assume(prefix + key not in KNOWN - {"name"})
    with pytest.raises(ProfileError, match="no key"):
        load_profile("smoke", [f"{prefix}{key}=1"])


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_random_keys_in_a_file_are_refused(content):
    good = PROFILES["smoke"].model_dump()
    assume(not set(content) & set(good))
    with pytest.raises(ProfileError, match="no such key; accepted: name, device, noisy_labels"):
        _check(Profile, good | content)
