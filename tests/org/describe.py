"""What describe says of an object: every property of a real answer, as the recorded ones have them.

REST API Developer Guide, "sObject Describe" and "Describe Global"; SOAP API Developer Guide,
"DescribeSObjectResult".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tests.org.fields import ID, NUMBER, TEXT, Field, SObject

_SOAP: Final = {
    "id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
    "address": "urn:address",
}  # fmt: skip

_EXTRA: Final = {"Name": "personname", "textarea": "plaintextarea"}


def describe_field(field: Field) -> dict[str, Any]:
    """Describe one field."""
    textual = field.type in TEXT or field.type in ID
    sortable = field.filterable
    return {
        "aggregatable": field.filterable and field.type != "boolean",
        "aiPredictionField": False,
        "autoNumber": False,
        "byteLength": field.length * 3 if field.type in TEXT else field.length,
        "calculated": False,
        "calculatedFormula": None,
        "cascadeDelete": False,
        "caseSensitive": False,
        "compoundFieldName": field.compound or None,
        "controllerName": None,
        "createable": field.createable,
        "custom": field.custom,
        "defaultValue": field.default if field.type == "boolean" else None,
        "defaultValueFormula": None,
        "defaultedOnCreate": field.defaulted,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": field.precision if field.type == "int" else 0,
        "displayLocationInDecimal": False,
        "encrypted": False,
        "externalId": field.external_id,
        "extraTypeInfo": _EXTRA.get(field.compound) or _EXTRA.get(field.type),
        "filterable": field.filterable or field.type == "address",  # by distance only
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False,
        "groupable": field.filterable and field.type not in {"datetime", "double", "currency", "percent"},
        "highScaleNumber": False,
        "htmlFormatted": False,
        "idLookup": field.id_lookup,
        "inlineHelpText": None,
        "label": field.title,
        "length": field.length if textual else 0,
        "mask": None,
        "maskType": None,
        "name": field.name,
        "nameField": field.name == "Name",
        "namePointing": field.polymorphic,
        "nillable": field.nillable,
        "permissionable": field.nillable and field.createable,
        "picklistValues": [
            {
                "active": True,
                "defaultValue": value == field.default,
                "label": value,
                "validFor": None,
                "value": value,
            }
            for value in field.values
        ],
        "polymorphicForeignKey": field.polymorphic,
        "precision": field.precision if field.type in NUMBER and field.type != "int" else 0,
        "queryByDistance": field.type == "address",
        "referenceTargetField": None,
        "referenceTo": list(field.reference_to),
        "relationshipName": field.relationship or None,
        "relationshipOrder": None,
        "restrictedDelete": False,
        "restrictedPicklist": field.restricted,
        "scale": field.scale,
        "searchPrefilterable": field.type == "reference",
        "soapType": _SOAP.get(field.type, "xsd:string"),
        "sortable": sortable,
        "type": field.type,
        "unique": field.unique,
        "updateable": field.updateable,
        "writeRequiresMasterRead": False,
    }


def summary(sobject: SObject, version: str) -> dict[str, Any]:
    """Describe an object as the list of all objects does."""
    name = sobject.name
    base = f"/services/data/v{version}/sobjects/{name}"
    label = name.removesuffix("__c").replace("_", " ")
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": sobject.createable,
        "custom": name.endswith("__c"),
        "customSetting": False,
        "deepCloneable": name == "Opportunity",
        "deletable": sobject.deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": name != "Organization",
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": sobject.prefix,
        "label": label,
        "labelPlural": "Opportunities" if name == "Opportunity" else f"{label}s",
        "layoutable": name != "Organization",
        "mergeable": sobject.mergeable,
        "mruEnabled": name not in {"Organization", "Task", "Group"},
        "name": name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": name != "Organization",
        "triggerable": name != "Organization",
        "undeletable": sobject.deletable and name != "Group",
        "updateable": True,
        "urls": {
            "sobject": base,
            "describe": f"{base}/describe",
            "rowTemplate": f"{base}/{{ID}}",
        },
    }


def describe_object(sobject: SObject, others: Iterable[SObject], version: str) -> dict[str, Any]:
    """Describe an object with the fields the user may see."""
    children: list[dict[str, Any]] = [
        {
            "cascadeDelete": False,
            "childSObject": other.name,
            "deprecatedAndHidden": False,
            "field": field.name,
            "junctionIdListNames": [],
            "junctionReferenceTo": [],
            "relationshipName": f"{other.name}s" if field.name == f"{sobject.name}Id" else None,
            "restrictedDelete": False,
        }
        for other in others
        if not other.hidden
        for field in other.visible()
        if sobject.name in field.reference_to
    ]
    more = {
        "actionOverrides": [],
        "childRelationships": children,
        "compactLayoutable": True,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": [describe_field(each) for each in sobject.visible()],
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [],
        "searchLayoutable": True,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [{"label": "All", "name": "everything"}],
    }
    return summary(sobject, version) | more
