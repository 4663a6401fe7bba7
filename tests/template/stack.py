"""The stack as CloudFormation makes it: template.yaml after the SAM transform, with the values of its parameters.

References become names: ``!Ref RecordingQueue`` becomes ``RecordingQueue``, and its ARN ``RecordingQueue.Arn``.
"""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import boto3
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

ROOT: Final = Path(__file__).parents[2]
REGION: Final = "eu-west-1"

_NO_VALUE: Final = object()
_PSEUDO_PARAMETERS: Final = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": _NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "the-stack",
    "AWS::URLSuffix": "amazonaws.com",
}


_TEMPLATE: Final[dict[str, Any]] = yaml_parse((ROOT / "template.yaml").read_text())


def read_template() -> dict[str, Any]:
    """Return template.yaml as it is written, with long forms in place of short ones such as ``!Ref``."""
    return deepcopy(_TEMPLATE)


_ANOTHER: Final = {
    "CallbackPath": "/voice/callbacks",
    "CallbackHost": "voice.example.com",
    "PrefetchedApplicationKey": "b2a1c3d4",
    "ParameterPrefix": "calls",
    "ParametersKmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000",
    "RecordingsBucketName": "their-bucket",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:on-call",
    "AlarmEmail": "on-call@example.com",
}


def another(name: str) -> str | int:
    """Return a value that a parameter allows and that is not its default."""
    declared = _TEMPLATE["Parameters"][name]
    values = [value for value in declared.get("AllowedValues", []) if value != declared["Default"]]
    other: str | int = values[0] if values else _ANOTHER.get(name) or declared["Default"] + 1
    return other


def allows(declared: dict[str, Any], value: str | int) -> bool:
    """Tell whether a declared parameter accepts a value. CloudFormation has every value as text."""
    if "AllowedValues" in declared:
        return str(value) in map(str, declared["AllowedValues"])
    if "MaxValue" in declared:
        return int(value) in range(declared["MinValue"], declared["MaxValue"] + 1)
    return re.fullmatch(declared["AllowedPattern"], str(value)) is not None


class Stack:
    """A deployment with these parameters. Other parameters have their defaults."""

    def __init__(self, **parameters: str | int) -> None:
        template = read_template()
        defaults = {name: declared["Default"] for name, declared in template["Parameters"].items()}
        assert parameters.keys() <= defaults.keys(), "the template has no such parameter"
        values = defaults | parameters
        # The transform accepts only packaged code, as `sam deploy` makes it.
        template["Globals"]["Function"]["CodeUri"] = "s3://bucket/package"
        translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
        transformed = translator.translate(template, values)
        self._values: dict[str, Any] = values | _PSEUDO_PARAMETERS
        self._conditions: dict[str, Any] = transformed["Conditions"]
        self._rules: dict[str, Any] = transformed["Rules"]
        self.written: dict[str, dict[str, Any]] = transformed["Resources"]
        self.resources: dict[str, dict[str, Any]] = self._present(self.written)
        self.outputs: dict[str, dict[str, Any]] = self._present(transformed["Outputs"])

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Return the properties of one resource."""
        properties: dict[str, Any] = self.resources[logical_id]["Properties"]
        return properties

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """Return the properties of every resource of a type, by logical id."""
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == resource_type}

    def references(self, logical_id: str) -> set[str]:
        """Return the resources that one refers to anywhere: CloudFormation makes them before it."""
        text = json.dumps(self.written[logical_id])
        forms = (r'"Ref": "(\w+)"', r'"Fn::GetAtt": \["(\w+)"', r"\$\{(\w+)[.}]", r'"DependsOn": \[?"(\w+)"')
        return {name for form in forms for name in re.findall(form, text)} & self.resources.keys()

    def refusals(self) -> list[str]:
        """Return why CloudFormation refuses these parameters together, or nothing."""
        assertions = [assertion for rule in self._rules.values() for assertion in rule["Assertions"]]
        return [each["AssertDescription"] for each in assertions if not self._holds(each["Assert"])]

    def _present(self, section: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._resolved(entry)
            for name, entry in section.items()
            if "Condition" not in entry or self._holds({"Condition": entry["Condition"]})
        }

    def _resolved(self, node: Any) -> Any:
        match node:
            case {"Ref": name}:
                return self._values.get(name, name)
            case {"Fn::GetAtt": [name, attribute]}:
                return f"{name}.{attribute}"
            case {"Fn::Sub": [text, names]}:
                return self._substituted(text, self._resolved(names))
            case {"Fn::Sub": text}:
                return self._substituted(text, {})
            case {"Fn::If": [condition, yes, no]}:
                return self._resolved(yes if self._holds({"Condition": condition}) else no)
            case {"Fn::Join": [separator, parts]}:
                return separator.join(self._resolved(parts))
            case dict():
                items = {key: self._resolved(value) for key, value in node.items()}
                return {key: value for key, value in items.items() if value is not _NO_VALUE}
            case list():
                return [value for value in map(self._resolved, node) if value is not _NO_VALUE]
            case _:
                return node

    def _substituted(self, text: str, names: dict[str, Any]) -> str:
        values = self._values | names
        return re.sub(r"\$\{([^!}]+)\}", lambda found: str(values.get(found[1], found[1])), text)

    def _holds(self, condition: Any) -> bool:
        match condition:
            case {"Condition": name}:
                return self._holds(self._conditions[name])
            case {"Fn::Equals": [left, right]}:
                # CloudFormation has every parameter as text.
                return str(self._resolved(left)) == str(self._resolved(right))
            case {"Fn::Not": [inner]}:
                return not self._holds(inner)
            case {"Fn::And": inner}:
                return all(map(self._holds, inner))
            case {"Fn::Or": inner}:
                return any(map(self._holds, inner))
            case _:
                raise AssertionError(f"this test does not know the condition {condition}")
