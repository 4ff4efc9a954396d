"""The information model beside the grid's nodes: DI, our own types, and a snapshot of them and namespace 0."""
