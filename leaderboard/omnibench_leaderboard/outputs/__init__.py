"""What is made from a board: tables for papers, data for programs, figures and a site."""
