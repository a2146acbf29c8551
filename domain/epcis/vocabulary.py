"""The words of the Core Business Vocabulary 2.0 and of the measurement types of GS1.

They stand bare in documents; anything else in their places is a URI of its own.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Steps of business.
BIZ_STEPS = _words(
    """
    accepting arriving assembling collecting commissioning consigning
    creating_class_instance cycle_counting decommissioning departing destroying
    disassembling dispensing encoding entering_exiting holding inspecting installing killing
    loading other packing picking receiving removing repackaging repairing replacing
    reserving retail_selling sampling sensor_reporting shipping staging_outbound
    stock_taking stocking storing transporting unloading unpacking void_shipping
    """
)
# States of things.
DISPOSITIONS = _words(
    """
    active available completeness_inferred completeness_verified conformant container_closed
    container_open damaged destroyed dispensed disposed encoded expired in_progress
    in_transit inactive mismatch_class mismatch_instance mismatch_quantity needs_replacement
    no_pedigree_match non_conformant non_sellable_other partially_dispensed recalled
    reserved retail_sold returned sellable_accessible sellable_not_accessible stolen
    unavailable unknown
    """
)
# Kinds of business documents.
TRANSACTIONS = _words(
    """
    bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt
    """
)
# Kinds of sources and destinations.
PARTIES = _words(
    """
    location owning_party possessing_party
    """
)
# What is measured.
MEASUREMENTS = _words(
    """
    AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Altitude AmountOfSubstance
    AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity
    Area Capacitance Conductance Conductivity Count Density Dimensionless DoseEquivalent
    DoseEquivalentRate DynamicViscosity ElectricCharge ElectricCurrent
    ElectricCurrentDensity ElectricFieldStrength Energy Exposure Force Frequency Illuminance
    Inductance Irradiance KinematicViscosity Length LinearMomentum Luminance LuminousFlux
    LuminousIntensity MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass
    MassConcentration MassFlowRate MassPerAreaTime MemoryCapacity MolalityOfSolute
    MolarEnergy MolarMass MolarVolume Power Pressure RadiantFlux RadiantIntensity
    Radioactivity RelativeHumidity Resistance Resistivity SolidAngle SpecificVolume Speed
    SurfaceDensity SurfaceTension Temperature Time Torque Voltage Volume VolumeFlowRate
    VolumeFraction VolumetricFlux Wavenumber
    """
)
# What a sensor warns of.
ALERTS = _words(
    """
    ALARM_CONDITION ERROR_CONDITION
    """
)
# Parts of a measured vector or place.
COMPONENTS = _words(
    """
    altitude axial_distance azimuth easting elevation_angle height latitude longitude
    northing polar_angle spherical_radius x y z
    """
)
# Why an event is declared wrong.
ERROR_REASONS = _words(
    """
    did_not_occur incorrect_data
    """
)
